"""Alembic's folder: env.py runs what is in versions/ over the connection that migrate.py opened."""
