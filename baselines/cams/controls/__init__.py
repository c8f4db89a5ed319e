"""Controls, which look at nothing but the image's id."""
