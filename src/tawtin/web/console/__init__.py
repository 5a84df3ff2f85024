"""The console: pages that work without scripts, in English, French and Arabic."""
