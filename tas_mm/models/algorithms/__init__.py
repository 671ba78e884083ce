from .tas import TAS

__all__ = ['TAS']
