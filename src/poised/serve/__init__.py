"""The web page: `page` is what a browser gets, `static_site` a folder of it that needs no server."""
