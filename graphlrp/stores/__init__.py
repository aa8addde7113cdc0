"""Relevance databases: the relevance of a whole data set in one HDF5 file, and its export to ViRelAy."""

from graphlrp.stores.reading import Store, read
from graphlrp.stores.virelay import Analysis, export_virelay
from graphlrp.stores.writing import write

__all__ = ["Analysis", "Store", "export_virelay", "read", "write"]
