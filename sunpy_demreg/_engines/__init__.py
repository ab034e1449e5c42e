"""
Engines: what runs the text of `sunpy_demreg._regularization`.

Each module has ``Solver(tables, plan)``, whose instances turn intensities and uncertainties into outputs.
A solver's machine offers to the text:

``intensity(i)``, ``sigma(i)``, ``scalar(name)``, ``response(i, j)``, ``response_pair(p, j)``,
``shared_gram(p)``, ``dlogt(j)``, ``sample(s)``
    what is given, for channel i, bin j, pair p, sample s;
``get(name, j)``, ``put(name, j, value)``, ``sum_of_inner_neighbors(name, j)``, ``sampled(name, s)``
    storage of one value per bin, and two ways to read several of them;
``put_output(name, j, value)``
    the answer;
``over_bins(body, reductions)``, ``over_samples(body, reductions)``
    ``body(j)`` gives a value for each of the reductions ("sum", in the order of the bins, "minimum",
    "maximum"). No bin may depend on another: a machine may take all of them at once;
``each_bin(body)``
    ``body(j)`` for one bin after the other;
``iterate(body, state, limit)``
    ``body(*state)`` gives the lanes still pending, and the next state;
``zero()``, ``where``, ``maximum``, ``minimum``, ``abs``, ``sqrt``, ``exp``, ``log``
    what operators do not do.
"""
