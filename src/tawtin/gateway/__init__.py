"""The OpenAI-compatible gateway: its own processes, which answer requests for models by replicas where data may be."""
