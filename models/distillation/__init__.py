"""The distillation laboratory: ConaCLIP, MoTIS, DCD and their relatives.

    cells.py      what can be switched on: learning types x strategies, validated
    similarity.py unit rows and their cosines
    losses.py     one pure function per strategy; per-row values
    graph.py      the active cells of one batch -> one sum
    presets.py    published combinations by name
    balance.py    weights from gradients
    bank.py miner.py dynamic.py   DCD: hard negatives, difficulty, row weights
    teachers.py cross.py cache.py who is imitated, and its vectors on disk
    shards.py recipe.py stages.py loop.py monitor.py state.py distributed.py   a run

docs/training.md explains the grid and how to run it at scale.
"""
