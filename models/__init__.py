"""The workbench for learning: students, recipes, training, evaluation. Not installed."""
