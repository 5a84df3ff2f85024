// How numbers, dates and times are written: the page's language as the factory's country has it, else the language alone.
export const locale = () => {
  const { dataset, lang } = document.documentElement;
  return dataset.locale || lang || undefined;
};
