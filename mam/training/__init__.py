"""Fine-tuning on `transformers.Trainer`: FT, MAM-FT and L-MAM. Evaluation is that of `mam.evaluation`."""
