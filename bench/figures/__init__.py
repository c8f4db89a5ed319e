"""The figures of ``cambench figure``: which images and networks, and what is drawn."""
