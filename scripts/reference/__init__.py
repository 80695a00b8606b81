"""What `scripts/tables.py` writes into the pages: tables and blocks made from the registries, conf/ and the schema."""
