"""The pages, a module each. `show` answers the page's own address."""
