"""
Engines: one text of the algorithm, and the machines that it runs on.

`sunpy_demreg._engines._text` says what happens to a pixel, on lane values; a machine gives them a meaning, and so
turns the text into work for its kind of processor. It offers:

``is_careful``, ``diagonalize(n, element)``
    whether systems are to be made from singular values; and if so, how;
``intensity(i)``, ``sigma(i)``, ``scalar(name)``, ``response(i, j)``, ``shared_gram(p)``, ``shared_weight(j)``,
``given_weight(j)``, ``dlogt(j)``, ``functional(q, j)``
    what is given, for channel i, bin j, pair of channels p, functional q;
``project(z, j)``, ``gram(name)``
    ``sum_i K_ij z_i``, and ``sum_j K_ij K_kj get(name, j)`` for each pair of channels;
``get(name, j)``, ``put(name, j, value)``, ``sum_of_inner_neighbors(name, j)``
    storage of one value per bin ("scratch", "weight"), and a way to read several of them;
``half_maximum_finder()``
    a function of one h or several: for each, the numbers of the first and the last of the sampled temperatures at
    which the column ``get("weight", j) * project(h, j)``, linear between the bins, is at least half its maximum; -1 as
    the last where there is none. What is in "scratch" is lost;
``put_output(name, j, value)``, ``put_element(name, j, k, value)``, ``put_status(value)``
    the answer;
``over_bins(body, reductions)``
    ``body(j)`` gives a value for each of the reductions: "sum", "minimum" or "maximum";
``each_bins(body)``, ``each_functional(body)``
    ``body(*bins)`` for all bins, as many at once as the machine likes, and ``body(q)``; nothing to reduce;
``iterate(body, state, limit, pending=None, given=())``
    ``body(*given, *state)`` gives the lanes still pending, and the next state; until none is pending. A machine may
    leave the other lanes out, if all that the body knows of lanes is ``given``;
``where``, ``maximum``, ``minimum``, ``abs``, ``sqrt``, ``exp``, ``log``
    what operators do not do.
"""
