"""Networks as pure functions over pytrees of parameters: a Gemma-style decoder, MLP, deep autoencoder."""
