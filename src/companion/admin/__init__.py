"""What people and programs see and change of the running proxy: one page (page.py), and a REST API (api.py)."""
