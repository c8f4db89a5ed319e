"""A CAM method and a metric for cambench; see pyproject.toml for their entry points."""
