"""Where state, events and bytes become durable: journals and blob stores."""
