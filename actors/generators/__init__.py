"""Sources of traces: vLLM replicas, and OpenAI-compatible endpoints."""
