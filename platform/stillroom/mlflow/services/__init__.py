"""What clients write: experiments, runs, logged models, the registry. Each in one transaction of the token's tenant."""
