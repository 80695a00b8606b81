"""Reports: tables, pictures and pages of finished runs."""
