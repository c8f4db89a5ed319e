"""``cambench time``: what each stage costs."""
