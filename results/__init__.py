"""What comes out: per-image records and the tables made from them."""
