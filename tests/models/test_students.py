"""Every student: shapes, unit rows, no NaN, and a gradient on every trained parameter."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.layers import unit  # noqa: E402
from models.losses import info_nce  # noqa: E402
from models.students import STUDENTS, DualEncoder, StudentConfig, set_classes, tiny  # noqa: E402


@pytest.fixture(params=sorted(STUDENTS))
def config(request: pytest.FixtureRequest) -> StudentConfig:
    if request.param == "tiny":
        return tiny(vocabulary=60)
    return STUDENTS[request.param](vocabulary=60, side_px=64)


def test_a_student_embeds(config: StudentConfig) -> None:
    torch.manual_seed(0)
    student = DualEncoder(config)
    pixels = torch.randn(3, 3, config.side_px, config.side_px)
    tokens = torch.tensor([[2, 5, 3, 0], [2, 5, 6, 3], [2, 3, 0, 0]])
    image, text = student(pixels, tokens)
    for rows in (image, text):
        assert rows.shape == (3, config.dim)
        assert torch.isfinite(rows).all()
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)
    # Two steps: the first one opens `down` and `gate`, which start at zero.
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        info_nce(*student(pixels, tokens), scale=5.0).backward()
        optimizer.step()
    silent = [
        name
        for name, value in student.named_parameters()
        if value.grad is None or not torch.isfinite(value.grad).all() or not value.grad.any()
    ]
    # A key's bias moves every score of a query alike, which softmax does not see.
    assert [name for name in silent if not name.endswith("key.bias")] == []


@pytest.mark.parametrize(("name", "megabytes"), [("spark", 3), ("candle", 8), ("lantern", 18)])
def test_the_family_has_the_sizes_it_is_named_for(name: str, megabytes: int) -> None:
    """A byte for a parameter, scales and the vocabulary's text aside."""
    student = DualEncoder(STUDENTS[name]())
    assert sum(value.numel() for value in student.parameters()) / 1e6 == pytest.approx(
        megabytes, rel=0.2
    )


def test_the_embedding_width_fits_a_large_library(config: StudentConfig) -> None:
    assert config.dim <= 256


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="class_share"):
        STUDENTS["first-light"](class_share=share)


def test_a_photo_of_a_class_lies_nearest_to_its_name() -> None:
    torch.manual_seed(0)
    student = DualEncoder(tiny(vocabulary=60)).eval()
    names = unit(torch.randn(10, 32) + 2)  # as anisotropic as real sentence vectors
    set_classes(student, names)
    sure = 20.0 * torch.eye(10)
    with torch.inference_mode():
        image = student.image.head(torch.zeros(10, 32), sure)[:, 8:]
        text = student.text.head(names)[:, 8:]
    assert (image @ text.T).argmax(dim=1).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("name", "least_mb", "most_mb"), [("spark", 2, 3.2), ("candle", 7, 8.6), ("lantern", 16, 19)]
)
def test_the_family_has_the_sizes_it_says(name: str, least_mb: float, most_mb: float) -> None:
    """In int8 a parameter is a byte; scales, norms and graphs add a few percent."""
    student = DualEncoder(STUDENTS[name]())
    tables = sum(value.numel() for part, value in student.named_buffers() if "class_" in part)
    total = sum(value.numel() for value in student.parameters()) + tables
    assert least_mb <= total / 1e6 <= most_mb
    assert student.config.dim <= 256
    assert student.config.side_px <= 224
    kernels = {stage.kernel for stage in student.config.image.stages}
    assert max(kernels) <= 5
