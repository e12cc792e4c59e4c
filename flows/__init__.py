"""Prefect flows over hydata, the only code that imports Prefect; ``prefect.yaml`` deploys them."""
