"""The strategies, each a Prefect flow."""
