from .tas_distiller import TASDistiller

__all__ = ['TASDistiller']
