"""DeepPrune: the method in plain Python, without Ray, torch or vLLM."""
