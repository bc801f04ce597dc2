"""A page about one network, or several compared: figures, tables that sort, plots, definitions.

`content.py` says what a page holds, `page.py` writes it, with `page.css` and `page.js` inside it.
"""
