"""Files of tenants, and batches of requests in them: what is kept, and what runs them."""
