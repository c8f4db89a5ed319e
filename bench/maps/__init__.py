"""Score maps made elsewhere: their files, and the method that stands for them."""
