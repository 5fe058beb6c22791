// A slide that is too full is set in smaller type, down to 0.8 of the usual; what still does not fit is scrolled to.
function fit(slide) {
  for (const size of [1, 0.9, 0.8]) {
    slide.style.fontSize = `${size}em`;
    if (slide.scrollHeight <= slide.clientHeight) return;
  }
}

Reveal.on("ready", (event) => fit(event.currentSlide));
Reveal.on("slidechanged", (event) => fit(event.currentSlide));
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  display: "flex",
  hash: true,
  slideNumber: "c/t",
  transition: "none",
  defaultTiming: 0,
  pdfSeparateFragments: false,
  plugins: [RevealNotes],
});
