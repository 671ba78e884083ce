"""Costs, features and gains of a distillation: tables, measurements and figures, before and after training."""
