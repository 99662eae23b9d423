"""The workbench for shipping: checkpoint to bundle. Not installed."""
