"""Files and batches in OpenAI's shapes. The gateway's workers are the door; this answers behind them."""
