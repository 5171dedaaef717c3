"""The admin API, asked over real sockets while the whole proxy runs."""
