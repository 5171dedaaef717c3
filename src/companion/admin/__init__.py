"""What a person sees of the running proxy. So far one page; the application takes its place."""
