"""The web server: a page and an API for it. `poised serve`; needs `poised[serve]`."""
