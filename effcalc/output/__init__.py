"""Tables and how they are written: formats, pictures, pages and regions of documents."""
