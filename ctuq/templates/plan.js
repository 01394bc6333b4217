// The page of a plan.

startPage(async (numbers) => {
  const { measured, chosen, promised } = numbers;
  const present = { name: `measured (${measured.length})`, degrees: measured };
  await drawCircle("circle", { present, added: { name: `to measure (${chosen.degrees.length})`, degrees: chosen.degrees } });
  await drawPromises("promises", { promised, realised: [] });
  await drawGains("gains", numbers);
});
