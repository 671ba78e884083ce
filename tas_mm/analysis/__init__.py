"""What networks cost, know and gain: tables, measurements and figures of a distillation, before and after training."""
