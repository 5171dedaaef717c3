"""What tests share: a plain HTTP client that tells how an answer ended, and a running proxy."""
