### عبء جديد: النموذج إلى جانب YAML.

form = النموذج
form-not-given = غير محدد
form-in-text = لا يمكن قراءة YAML، أو أنه يذكر هذا بصيغة ليس لها حقل: غيّره هناك.
field-name = الاسم
field-run = البرنامج النصي
field-cpus = المعالجات في كل عقدة
field-memory = الذاكرة في كل عقدة
field-accelerators = وحدات GPU في كل عقدة
field-class = فئة البيانات
field-origin = بلد البيانات
field-duration = أقصى مدة
field-countries = البلدان التي يجوز أن يُنفَّذ فيها
