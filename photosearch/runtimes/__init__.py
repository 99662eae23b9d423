"""Where encoders run. ONNX Runtime is the default; each runtime is one module."""
