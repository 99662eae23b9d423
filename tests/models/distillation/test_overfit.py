"""What cannot learn 64 pairs by heart learns nothing (T38)."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.distillation.cells import GRID, SYMMETRIC, CellKey  # noqa: E402
from models.distillation.embeddings import EmbeddingSet  # noqa: E402
from models.distillation.graph import KnowledgeGraph  # noqa: E402
from models.distillation.presets import cell  # noqa: E402
from models.distillation.recall import both_directions  # noqa: E402
from models.distillation.similarity import l2_normalize  # noqa: E402
from models.distillation.toy import ToyEncoder, World  # noqa: E402

PAIRS, WIDTH, STEPS = 64, 16, 500


@pytest.mark.parametrize("key", [key for key in GRID if key.strategy not in SYMMETRIC], ids=str)
def test_a_small_student_learns_its_pairs_by_heart(key: CellKey) -> None:
    """T38: the baseline and any anchored cell; R@1 100 both ways in fewer than 500 steps."""
    torch.manual_seed(0)
    pairs = World().pairs(PAIRS, seed=9)
    meaning = torch.randn(PAIRS, WIDTH)
    v_t, x_t = (meaning + 0.3 * torch.randn(PAIRS, WIDTH) for _ in range(2))
    own = torch.arange(PAIRS)
    student = ToyEncoder(64, 1, WIDTH)
    graph = KnowledgeGraph(cell(key.type, key.strategy).cells)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-2)
    reached = []
    for step in range(STEPS):
        image, text = student(pairs.image, pairs.caption)
        if step % 10 == 0:
            found = both_directions(l2_normalize(image.detach()), l2_normalize(text.detach()), own)
            reached.append(min(found["t2i_r1"], found["i2t_r1"]))
            if reached[-1] == 100:
                break
        optimizer.zero_grad()
        graph(EmbeddingSet.build(image, text, v_t, x_t)).total.backward()
        optimizer.step()
    assert reached[0] < 10  # it knew nothing at first
    assert reached[-1] == 100, reached
