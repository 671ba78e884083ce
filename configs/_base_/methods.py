"""The methods that suites of the benchmark compare, in the order of their tables."""

methods = {
    'alone': None,
    **{name: f'tas_mm::_base_/distillers/{name}.py' for name in ('kd', 'dkd', 'dist', 'fitnet', 'rkd', 'ofa', 'rsd')},
    'tas': dict(type='tas_mm.TASDistiller'),
}
