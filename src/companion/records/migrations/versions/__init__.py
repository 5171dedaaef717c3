"""One module a change of the tables; `revision` of the newest is database.VERSION."""
