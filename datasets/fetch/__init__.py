"""Downloads: resumed, verified, safely extracted."""
