"""What both HTTP sides share: framing and its limits (h1), dialling (dial), what only POSIX has (posix)."""
