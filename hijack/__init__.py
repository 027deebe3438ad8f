"""The workshop: builds library kernels and runs instances of them."""
