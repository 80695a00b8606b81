"""Fine-tuning on `transformers.Trainer`: FT, MAM-FT and L-MAM. Evaluation uses `mam.evaluation`."""
