"""Methods and formulas, as the reports print them last."""

from __future__ import annotations

from typing import Final

ERRORS: Final = {
    "EPE": "Mean distance between predicted and true keypoint over all labelled keypoints, in pixels of the photo.",
    "NME": "The same over the longer side of the hand's box, so that a photo's size does not matter.",
    "AUC (MMPose)": "Mean share of keypoints closer than 0, 1.5, ... 28.5 px; a perfect model has 0.95.",
}
CLUSTERS: Final = {
    "Groups": "Hands of one group (a pose on FreiHAND's backgrounds, a photo, a video, a person) depend on each other. "
    "Intervals resample whole groups, tests exchange whole groups, and sizes count groups.",
    "95 % interval": "Studentised cluster bootstrap: G groups drawn with replacement give m* and its standard error "
    "s*; the interval is [m - t_high s, m - t_low s] with the quantiles of (m* - m) / s*. Fewer than 20 groups get "
    "none.",
}
MANY: Final = {
    "Holm": "p-values sorted upwards, adjusted p_i = max over j <= i of (m - j + 1) p_j. Calling out what is at most "
    "0.05 keeps the chance of even one false alarm at 5 %.",
    "Equivalence": 'Two one-sided t tests (Schuirmann, 1987): "no difference" may be claimed where both reject a '
    "difference as large as the margin, corrected by Holm. A test that finds nothing has not shown that there is "
    "nothing.",
}
PAIRED: Final = {
    "Paired difference": "Both models are run on the same hands, and the difference is taken hand by hand, so that "
    "hard hands cancel.",
    "Permutation p": "If the models are alike, either could have had either error: signs of the groups' mean "
    "differences are turned in all or in 9,999 random ways, and p is the share of means as large as that of the data. "
    "That takes differences to be symmetric about 0 where the models are alike.",
}
OWN: Final = {
    "Dilution": "mean(base + own) - mean(base) = share x (mean(own) - mean(base)), with share the part of own "
    "keypoints in base + own.",
    "Permutation p": "If own and base photos do not differ, their labels may be exchanged; p is the share of "
    "labellings with a Welch t as large as that of the data. With a base and b own groups it cannot fall below 1 over "
    "the number of ways to choose b out of a + b (2 over it where a = b).",
    "Power": "Simulated: 200 studies draw group means from the deviations at hand of base and of own groups from the "
    "means of their gestures, own ones moved by the difference, and make the permutation test at the level of Holm's "
    "first step, 0.05 over the number of gestures (standard error 0.035 at most). 0 where the smallest p exceeds that.",
    "Photos needed": "By formula: Welch's t with noncentrality difference / sqrt(sd^2 / own + sd^2 / base) at the same "
    "level, sd pooled over all arms. Where own errors scatter more than those of the base it is off; "
    "docs/statistics.md measures by how much.",
    "Hierarchical model": "d_c ~ N(theta_c, sd^2 (1 / own + 1 / base)), theta_c ~ N(mu, tau^2), flat priors. It "
    "assumes one spread for all arms, nearly normal differences, and gestures that were exchangeable before looking.",
}
FAILS: Final = {
    "Fails on": "A gesture is listed where the permutation test of its groups against those of all other gestures of "
    "the set, corrected by Holm, is at most 0.05 and its NME is larger; a joint likewise against the other joints of "
    "the same hands.",
}
TRAINING: Final = {
    "Training share": "Spearman's rank correlation of NME and share over gestures, with a permutation p; the line is "
    "least squares, its interval Student's.",
}
HARDER: Final = {
    "Degradation": "NME in harder pictures over that of the same hands in unchanged ones; 1.2 says a fifth more. Means "
    "over severities give all five the same weight. Intervals resample groups and keep a hand's pair together.",
}
