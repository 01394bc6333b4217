// The page of an acquisition.

startPage(async (numbers) => {
  const { measured, chosen, failed } = numbers;
  const present = { name: `measured (${measured.length})`, degrees: measured };
  const added = { name: `to measure now (${chosen.degrees.length})`, degrees: chosen.degrees };
  await drawCircle("circle", { present, added, crossed: { name: `failed (${failed.length})`, degrees: failed } });
  if (numbers.realised.length) await drawPromises("promises", numbers);
  if (chosen.degrees.length) await drawGains("gains", { ...numbers, candidates: { degrees: [], score: [] } });
});
