"""What each page shows, a module a page."""
